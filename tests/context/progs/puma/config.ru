# SPDX-License-Identifier: Apache-2.0
# Ruby: Puma, Net::HTTP connections and pg's in pools; what happens at once are threads.

require 'net/http'
require 'pg'

POOL_SIZE = 8

class Pool
  def initialize(&connect)
    @free = Queue.new
    POOL_SIZE.times { @free << connect.call }
  end

  def with
    conn = @free.pop
    yield conn
  ensure
    @free << conn
  end
end

BACKEND = ENV.fetch('BACKEND').split(':')
HTTP = Pool.new { Net::HTTP.start(*BACKEND) }
SQL = Pool.new { PG.connect }

def fetch(name)
  HTTP.with { |conn| conn.get("/b/#{name}") }
end

def query(name)
  SQL.with { |conn| conn.exec("SELECT pg_sleep(0.002) AS #{name}") }
end

def work(id)
  pause = (1 + id[-1].ord % 4) / 1000.0
  sleep pause
  fetch("#{id}-1")
  query("r_#{id}_2")
  sleep pause
  [Thread.new { fetch("#{id}-3") }, Thread.new { query("r_#{id}_4") }].each(&:join)
end

Thread.new do
  (0..).each do |n|
    sleep 0.02
    fetch("bg-#{n}")
    query("bg_#{n}")
  end
end

run lambda { |env|
  work(env['PATH_INFO'].delete_prefix('/r/'))
  [200, { 'Content-Type' => 'text/plain' }, ["done\n"]]
}
