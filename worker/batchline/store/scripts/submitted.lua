#!lua flags=allow-oom
-- submitting, reconciling -> submitted: the provider's batch is known and belongs to this one alone. Gives the lease back.
-- With a nonce also cut -> submitted: the store forgot the intent (a rollback), the provider did not.
-- KEYS 1 batch (hash)  2 the claim on the provider's batch (string)  3 agenda of accumulate  4 agenda of poll (zsets)
--      5 the account's intents (hash)  6 the account's open batches (hash)
-- ARGV 1 fence  2 batch id  3 provider id  4 submitted (ms)  5 expires (ms, 0: not told)  6 first poll (ms)
--      7 '1' when it is proven that the provider's batch is ours  8 nonce of a forgotten attempt, or ''  9 its rows
-- Returns 1, or 0 when another batch claimed this provider batch. Errors LEASELOST, STATE.
--@include fence
--@include room
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[2] then
  return 0
end
local batch = redis.call('HMGET', KEYS[1], 'state', 'provider_id')
if batch[1] == 'submitted' and batch[2] == ARGV[3] then
  return 1
end
local forgotten = batch[1] == 'cut' and ARGV[8] ~= ''
if batch[1] ~= 'submitting' and batch[1] ~= 'reconciling' and not forgotten then
  return redis.error_reply('STATE submitted needs a batch in submitting or reconciling, this one is ' .. tostring(batch[1]))
end
if forgotten then
  -- Its entry has nothing where it went again meanwhile; what embarks adds its own tokens, and is among its rows.
  local known = redis.call('HMGET', KEYS[1], 'tokens', 'pool', 'lane')
  local _, tokens = string.match(redis.call('HGET', KEYS[6], ARGV[2]) or '', ROOM)
  tokens = math.max(tonumber(tokens or 0), tonumber(known[1] or 0))
  redis.call('HSET', KEYS[1], 'nonce', ARGV[8], 'rows', ARGV[9], 'embarks', 1, 'sent_tokens', tokens)
  redis.call('HSET', KEYS[6], ARGV[2], room_entry(ARGV[9], tokens, '1', known[2] or '', known[3]))
end
local rows = redis.call('HGET', KEYS[1], 'rows')
if rows and redis.call('HGET', KEYS[5], rows) == ARGV[2] then
  redis.call('HDEL', KEYS[5], rows)
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'submitted', 'provider_id', ARGV[3], 'submitted_ms', ARGV[4],
           'expires_ms', ARGV[5], 'next_ms', ARGV[6], 'lease_until', 0,
           'proven', ARGV[7])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[6], ARGV[2])
return 1
