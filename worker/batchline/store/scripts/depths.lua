#!lua flags=no-writes,allow-oom
-- How deep one page of the lanes is: what is owed, what was ever added (0 where no worker has walked yet: such a lane may
-- still be set aside, and what was counted must stay), how old the open range is (where none is open, the
-- oldest that an entry which no worker has walked yet can be: who only counts should not have to read entries), and the dead letters.
-- KEYS 1 lanes (set)
-- ARGV 1 SSCAN cursor  2 page size
-- Derived keys: batchline:{lane}:requests, :walk, :dead of each lane in the page.
-- Returns {next cursor, lanes}; a lane is {name, owed, ever added, since ms or '', dead letters, bytes per token or '', tokens
--   of its last telling batch as estimated and as counted, or ''}. Lanes without a stream, or whose key is no stream, are left out.
--@include carry
local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local lanes = {}
for _, lane in ipairs(page[2]) do
  local base = 'batchline:{' .. lane .. '}:'
  if redis.call('TYPE', base .. 'requests').ok == 'stream' then
    local info, found = redis.call('XINFO', 'STREAM', base .. 'requests'), {}
    for i = 1, #info, 2 do
      found[info[i]] = info[i + 1]
    end
    local walk = redis.pcall('HMGET', base .. 'walk', 'since', 'last', 'per_token', 'estimated', 'counted')
    local since = walk[1]
    if not walk.err and (not since or since == '') then
      local first, newest, walked = found['first-entry'], found['last-entry'], walk[2] or '0-0'
      since = ''
      if newest and beyond(newest[1], walked) then
        since = string.match(beyond(first[1], walked) and first[1] or walked, '^%d+')
      end
    end
    local dead = redis.pcall('HLEN', base .. 'dead')
    -- As `look` tells it: there is a walk, of whatever type.
    local unwalked = redis.pcall('HLEN', base .. 'walk') == 0
    lanes[#lanes + 1] = {lane, found['length'], unwalked and 0 or found['entries-added'],
                         type(since) == 'string' and since or '', type(dead) == 'number' and dead or 0,
                         walk[3] or '', walk[4] or '', walk[5] or ''}
  end
end
return {page[1], lanes}
