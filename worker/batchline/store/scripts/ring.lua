#!lua flags=allow-oom
-- The batches of an agenda whose time has come, each pushed back: a doorbell that is lost rings again later.
-- KEYS 1 agenda (zset)
-- ARGV 1 now (ms)  2 most batches  3 ring again at (ms)
-- Returns batch ids, longest due first.
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, batch in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[3], batch)
end
return due
