#!lua flags=allow-oom
-- Count a provider call that failed. A count that is sent twice in a row counts once: only the last token is remembered,
-- so a count that is sent again after another failure of the account was counted counts twice.
-- KEYS 1 the account's errors (hash: `call:code` -> how often, and `last`)
-- ARGV 1 call:code  2 a token of this one failure
-- Returns how often it failed so.
if redis.call('HGET', KEYS[1], 'last') == ARGV[2] then
  return tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
end
redis.call('HSET', KEYS[1], 'last', ARGV[2])
return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
