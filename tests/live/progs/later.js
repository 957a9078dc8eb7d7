// SPDX-License-Identifier: Apache-2.0
// later.js PORT BACKEND - a server whose handler sleeps, then calls /b<path> of the back end on another
// port of its own, through three connections that requests wait for.
'use strict';
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 3 });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

http.createServer((request, response) => setTimeout(() => response.end('b'), 2))
  .listen(process.argv[3], '127.0.0.1');
http.createServer(async (request, response) => {
  await sleep(request.url.length % 5);
  const url = `http://127.0.0.1:${process.argv[3]}/b${request.url}`;
  http.get(url, { agent }, (answer) => answer.resume().on('end', () => response.end('ok')));
}).listen(process.argv[2], '127.0.0.1');
