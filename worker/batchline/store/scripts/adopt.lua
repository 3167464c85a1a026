#!lua flags=allow-oom
-- Put a provider's batch of ours on record that the store does not know (any more). Its range is empty: its answers settle
-- requests wherever these are; `embark` gives it those that nobody else carries. Until then it takes no room of the account.
-- A duplicate, a second batch for one attempt of ours, is asked to stop by who polls it; what it did is read all the same.
-- KEYS 1 batch (hash)  2 the claim on the provider's batch (string)  3 agenda of poll (zset)
--      4 the batch to whose attempt it is a duplicate (hash), or the batch again
-- ARGV 1 batch id  2 lane  3 account  4 provider id  5 nonce of the attempt  6 rows  7 created  8 expires  9 now (ms)
--      10 pool of the lane's budget  11 the batch to whose attempt it is a duplicate, or ''
--      12 '1': it is to embark what nobody else carries
-- Returns 1, or 0 when the provider's batch is claimed or the id is taken.
local owner = redis.call('GET', KEYS[2])
if owner then
  return owner == ARGV[1] and 1 or 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'lane', ARGV[2], 'account', ARGV[3], 'state', 'submitted', 'trigger', 'age',
           'after', '0-0', 'last', '0-0', 'requests', 0, 'bytes', 0, 'tokens', 0, 'largest', 0, 'riders', 0,
           'cut_ms', ARGV[7], 'fence', 0, 'holder', '', 'lease_until', 0, 'next_ms', ARGV[9], 'nonce', ARGV[5],
           'rows', ARGV[6], 'intent_ms', ARGV[7], 'provider_id', ARGV[4], 'submitted_ms', ARGV[7],
           'expires_ms', ARGV[8], 'proven', 1, 'orphan', 1, 'embarks', ARGV[12], 'pool', ARGV[10])
if KEYS[4] ~= KEYS[1] then
  redis.call('HSET', KEYS[1], 'duplicate', 1, 'twin', ARGV[11])
  if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('HSET', KEYS[4], 'twin', ARGV[1])
  end
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[9], ARGV[1])
return 1
