#!lua flags=allow-oom
-- Let retries whose time has come ride along with a batch in `cut`; they leave the retry pool. A batch that is to be
-- cancelled takes none: they would be cancelled with it.
-- KEYS 1 batch (hash)  2 riders (zset)  3 retry pool (zset)
-- ARGV 1 fence  2 horizon (ms): retries due until then ride  3 most requests of the batch, riders included
--      4 most to move in this call
-- Returns how many were moved. Error LEASELOST.
--@include fence
local batch = redis.call('HMGET', KEYS[1], 'state', 'requests', 'riders', 'cancel_ms')
local room = math.min(tonumber(ARGV[3]) - batch[2] - batch[3], tonumber(ARGV[4]))
if batch[1] ~= 'cut' or batch[4] or room <= 0 then
  return 0
end
local entries = redis.call('ZRANGE', KEYS[3], '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, room)
for _, entry in ipairs(entries) do
  redis.call('ZADD', KEYS[2], 0, entry)
  redis.call('ZREM', KEYS[3], entry)
end
redis.call('HINCRBY', KEYS[1], 'riders', #entries)
return #entries
