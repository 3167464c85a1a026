#!lua flags=no-writes,allow-oom
-- How deep one page of the lanes is: what is owed, what was ever added, how old the open range is, and the dead letters.
-- KEYS 1 lanes (set)
-- ARGV 1 SSCAN cursor  2 page size
-- Derived keys: batchline:{lane}:requests, :walk, :dead of each lane in the page.
-- Returns {next cursor, lanes}; a lane is {name, owed, ever added, since ms of the open range or '', dead letters}. Lanes without a
--   stream, or whose key is no stream, are left out.
local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local lanes = {}
for _, lane in ipairs(page[2]) do
  local base = 'batchline:{' .. lane .. '}:'
  if redis.call('TYPE', base .. 'requests').ok == 'stream' then
    local info, found = redis.call('XINFO', 'STREAM', base .. 'requests'), {}
    for i = 1, #info, 2 do
      found[info[i]] = info[i + 1]
    end
    local since = redis.pcall('HGET', base .. 'walk', 'since')
    local dead = redis.pcall('HLEN', base .. 'dead')
    lanes[#lanes + 1] = {lane, found['length'], found['entries-added'], type(since) == 'string' and since or '',
                         type(dead) == 'number' and dead or 0}
  end
end
return {page[1], lanes}
