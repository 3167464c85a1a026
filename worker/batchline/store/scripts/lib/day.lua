-- Add counters to the ledger of one day: all but the distributions, which only the ledger of all time has. What another
-- type, or a word where a number should be, keeps out is not counted for the day: nothing else may fail for a report.
local DAY_MS = 86400000

local function add_to_day(day, days, name, now, kept, counters)
  local added = false
  for field, n in pairs(counters) do
    local distribution = string.find(field, '^latency') or string.find(field, '^queue') or string.find(field, '^callbacks')
    if n > 0 and not distribution then
      added = type(redis.pcall('HINCRBY', day, field, string.format('%.0f', n))) == 'number' or added
    end
  end
  if added then
    redis.call('EXPIRE', day, kept)
    if type(redis.pcall('ZADD', days, string.format('%.0f', now - now % DAY_MS), name)) == 'number' then
      redis.call('EXPIRE', days, kept)
      -- The score is a day's beginning: it goes when its end is older than what is kept.
      redis.call('ZREMRANGEBYSCORE', days, '-inf', string.format('(%.0f', now - kept * 1000 - DAY_MS))
    end
  end
end
