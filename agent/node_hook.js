// SPDX-License-Identifier: Apache-2.0
// node_hook.js - runs once in a traced Node.js process (inspector.c brings it there): remembers across
// timers and promises which request is being worked for, and says so when something is written to a
// client socket. It speaks to the kernel half by asking for a path that never exists.
((require) => {
  const done = Symbol.for('wirespan');
  if (globalThis[done]) return 'again';
  globalThis[done] = true;
  const { AsyncLocalStorage, AsyncResource } = require('async_hooks');
  const { existsSync } = require('fs');
  const http = require('http');
  const net = require('net');
  const work = new AsyncLocalStorage();
  const hex = (n) => (n >>> 0).toString(16).padStart(8, '0');
  const tell = (what) => existsSync('/dev/null/wirespan/' + what);
  let last = 0;

  // A request's handler runs in the turn in which its head was read.
  const emit = http.Server.prototype.emit;
  http.Server.prototype.emit = function (type, ...args) {
    if (type !== 'request') return emit.call(this, type, ...args);
    last = last + 1 >>> 0 || 1;
    tell('b/' + hex(last));
    return work.run(last, () => emit.call(this, type, ...args));
  };

  // What waits for the connection is written when nobody's work runs.
  const asked = Symbol('wirespan');
  const write = net.Socket.prototype._writeGeneric;
  net.Socket.prototype._writeGeneric = function (...args) {
    const now = this[asked] ?? work.getStore() ?? 0;
    this[asked] = this.connecting ? now : undefined;
    const fd = this._handle ? this._handle.fd : -1;
    if (fd >= 0 && !this.connecting && !this.server) tell('w/' + hex(now) + '/' + hex(fd));
    return write.apply(this, args);
  };

  // A pool hands a connection that comes back to whoever waits for one.
  const bound = (pool) => {
    const connect = pool.prototype && pool.prototype.connect;
    if (!connect) return;
    pool.prototype.connect = function (then, ...more) {
      return connect.call(this, typeof then === 'function' ? AsyncResource.bind(then) : then, ...more);
    };
  };
  for (const [path, module] of Object.entries(require.cache))
    if (/[\\/]pg-pool[\\/]index\.js$/.test(path)) bound(module.exports);

  setTimeout(() => require('inspector').close(), 20).unref();
  return 'ok';
})(require)
