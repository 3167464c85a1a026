#!lua flags=allow-oom
-- Note that a reader of a callback list is alive, and give back one silent reader's unacknowledged replies.
-- KEYS 1 the callback list  2 its readers (zset)
-- ARGV 1 reader  2 silent for (ms)  3 prefix of the readers' lists  4 most replies to give back  5 expiry (s)
-- Returns how many replies were given back, to the front of the queue in their old order.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[5])
local silent = redis.call('ZRANGE', KEYS[2], '-inf', now - ARGV[2], 'BYSCORE', 'LIMIT', 0, 1)[1]
if not silent then
  return 0
end
local taken, given = ARGV[3] .. silent, 0
while given < tonumber(ARGV[4]) and redis.call('LMOVE', taken, KEYS[1], 'RIGHT', 'LEFT') do
  given = given + 1
end
if redis.call('EXISTS', taken) == 0 then
  redis.call('ZREM', KEYS[2], silent)
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return given
