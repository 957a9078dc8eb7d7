// SPDX-License-Identifier: Apache-2.0
// web.js - Node's own HTTP, both ends. `node web.js server PORT`: answers /sized/N with N bytes
// and their length, /chunked/N in chunks, /echo with what was sent, /none with 204. `node web.js
// client PORT`: waits for a line on standard input, asks for all of them over two keep-alive
// connections, and writes one line of JSON per answer: method, path, status, bytes sent, bytes
// received.
const http = require('http');
const [role, port] = [process.argv[2], Number(process.argv[3])];

function answer(req, res) {
	const [, what, n] = req.url.split('/');
	if (what === 'sized') {
		res.setHeader('Content-Length', n);
		res.end('s'.repeat(Number(n)));
	} else if (what === 'chunked') {
		for (let left = Number(n); left > 0; left -= 1000)
			res.write('c'.repeat(Math.min(left, 1000)));
		res.end();
	} else if (what === 'echo') {
		req.pipe(res);
	} else {
		res.statusCode = 204;
		res.end();
	}
}

function ask(agent, method, path, body) {
	return new Promise((done, failed) => {
		const req = http.request({ port, agent, method, path, host: '127.0.0.1' }, (res) => {
			let got = 0;
			res.on('data', (b) => { got += b.length; });
			res.on('end', () => {
				console.log(JSON.stringify([method, path, res.statusCode, body.length, got]));
				done();
			});
		});
		req.on('error', failed);
		req.end(body);
	});
}

async function client() {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
	for (let n = 0; n < 20; n++) {
		await Promise.all([
			ask(agent, 'GET', `/sized/${n * 777}`, ''),
			ask(agent, 'GET', `/chunked/${n * 999 + 1}`, ''),
			ask(agent, 'POST', `/echo/${n}`, 'e'.repeat(n * 5000 + 1)),
			ask(agent, 'DELETE', `/none/${n}`, ''),
			ask(agent, 'HEAD', `/sized/${n * 777 + 5}`, ''),
		]);
	}
	agent.destroy();
}

if (role === 'server')
	http.createServer(answer).listen(port, '127.0.0.1');
else
	process.stdin.once('data', () => client().then(() => process.exit(0)));
