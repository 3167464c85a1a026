#!lua flags=allow-oom
-- Ask to cancel an entry: it is marked, so that no rendering sends it and no retry keeps it. What no batch carries is
-- settled by the caller at once; if the caller dies first, the mark does it at the next rendering.
-- KEYS 1 requests (stream)  2 walk (hash)  3 retry pool (zset)  4 cancels (set)
-- ARGV 1 entry id
-- Returns 'gone' (answered already), 'pending' (no batch carries it: the caller settles it), or 'carried'.
--@include carry
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return 'gone'
end
redis.call('SADD', KEYS[4], ARGV[1])
if redis.call('ZSCORE', KEYS[3], ARGV[1]) or beyond(ARGV[1], redis.call('HGET', KEYS[2], 'cut') or '0-0') then
  return 'pending'
end
return 'carried'
