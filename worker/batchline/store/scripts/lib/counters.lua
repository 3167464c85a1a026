-- Counters of a hash, integers that only grow. A script reads them before its first write: what cannot be counted in stops it
-- there. And they stop growing before a hash could hold them no more, which would stop it half way.
local COUNTED_MOST = 9e18

-- The counters (of these names, or all that the hash has), or nil and an error.
local function read_counters(key, names)
  local found, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if not names or names[all[i]] then
      if not string.match(all[i + 1], '^%-?%d+$') then
        return nil, redis.error_reply('BADCOUNT ' .. key .. ' cannot be counted in: its field ' .. all[i] .. ' is no integer; delete or mend it')
      end
      found[all[i]] = tonumber(all[i + 1])
    end
  end
  return found
end

local function grow(key, found, field, n)
  redis.call('HINCRBY', key, field, string.format('%.0f', math.max(0, math.min(n, COUNTED_MOST - (found[field] or 0)))))
end
