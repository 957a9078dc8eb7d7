// SPDX-License-Identifier: Apache-2.0

// Node: http on both sides with a keep-alive agent, pg's pool; what happens at once is Promise.all.
'use strict';

const http = require('http');
const { Pool } = require('pg');

const POOL_SIZE = 8;
const agent = new http.Agent({ keepAlive: true, maxSockets: POOL_SIZE });
const pool = new Pool({ max: POOL_SIZE });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function fetch(name) {
  return new Promise((done, fail) => {
    http.get(`http://${process.env.BACKEND}/b/${name}`, { agent }, (answer) => {
      answer.resume().on('end', done);
    }).on('error', fail);
  });
}

function query(alias) {
  return pool.query(`SELECT pg_sleep(0.002) AS ${alias}`);
}

async function work(id) {
  const pause = 1 + id.charCodeAt(id.length - 1) % 4;
  await sleep(pause);
  await fetch(`${id}-1`);
  await query(`r_${id}_2`);
  await sleep(pause);
  await Promise.all([fetch(`${id}-3`), query(`r_${id}_4`)]);
}

async function handle(request, response) {
  try {
    await work(request.url.slice('/r/'.length));
  } catch (e) {
    response.statusCode = 500;
    response.end(`${e}\n`);
    return;
  }
  response.end('done\n');
}

async function background() {
  for (let n = 0; ; n++) {
    await sleep(20);
    await fetch(`bg-${n}`);
    await query(`bg_${n}`);
  }
}

background();
http.createServer(handle).listen(process.env.PORT, '127.0.0.1');
