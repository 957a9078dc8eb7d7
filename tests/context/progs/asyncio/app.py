# SPDX-License-Identifier: Apache-2.0
"""asyncio: aiohttp on both sides and asyncpg's pool; what happens at once is gathered."""

import asyncio
import itertools
import os

import aiohttp
import asyncpg
from aiohttp import web

POOL_SIZE = 8


class App:
    async def start(self, app):
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=POOL_SIZE))
        self.sql = await asyncpg.create_pool(min_size=1, max_size=POOL_SIZE)
        self.timer = asyncio.create_task(self.background())

    async def fetch(self, name):
        async with self.http.get(f"http://{os.environ['BACKEND']}/b/{name}") as answer:
            await answer.read()

    async def query(self, alias):
        await self.sql.fetch(f"SELECT pg_sleep(0.002) AS {alias}")

    async def background(self):
        for n in itertools.count():
            await asyncio.sleep(0.02)
            await self.fetch(f"bg-{n}")
            await self.query(f"bg_{n}")

    async def handle(self, request):
        name = request.match_info["id"]
        pause = (1 + ord(name[-1]) % 4) / 1000
        await asyncio.sleep(pause)
        await self.fetch(f"{name}-1")
        await self.query(f"r_{name}_2")
        await asyncio.sleep(pause)
        await asyncio.gather(self.fetch(f"{name}-3"), self.query(f"r_{name}_4"))
        return web.Response(text="done\n")


def main():
    state, app = App(), web.Application()
    app.on_startup.append(state.start)
    app.router.add_get("/r/{id}", state.handle)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None)


main()
