-- SPDX-License-Identifier: Apache-2.0
-- Gives every request of wrk a rid of its own (prefix, thread, number) and lets each thread send
-- just so many: delay() is asked before each request, and once all are granted it holds the
-- connection back for longer than any run. "list" asks for lists of 1 to 10 rows (simple protocol),
-- "one" for rows by id (extended protocol). Arguments: PREFIX REQUESTS-PER-THREAD list|one.
local threads = 0

function setup(thread)
	threads = threads + 1
	thread:set("id", threads)
end

function init(args)
	prefix, most, kind = args[1], tonumber(args[2]), args[3]
	granted, sent = 0, 0
end

function delay()
	granted = granted + 1
	return granted <= most and 0 or 3600 * 1000
end

function request()
	sent = sent + 1
	local rid = "rid=" .. prefix .. (id or 0) .. "-" .. sent
	if kind == "one" then
		return wrk.format("GET", "/api/todos/" .. (1 + sent % 19) .. "?" .. rid)
	end
	return wrk.format("GET", "/api/todos?limit=" .. (1 + sent % 10) .. "&" .. rid)
end
