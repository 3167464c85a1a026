-- Add counters to the ledger of one day: all but the distributions, which only the ledger of all time has.
local function add_to_day(day, days, name, now, kept, counters)
  local added = false
  for field, n in pairs(counters) do
    local distribution = string.find(field, '^latency') or string.find(field, '^queue') or string.find(field, '^callbacks')
    if n > 0 and not distribution then
      redis.call('HINCRBY', day, field, string.format('%.0f', n))
      added = true
    end
  end
  if added then
    redis.call('EXPIRE', day, kept)
    redis.call('ZADD', days, string.format('%.0f', now - now % 86400000), name)
    redis.call('EXPIRE', days, kept)
    redis.call('ZREMRANGEBYSCORE', days, '-inf', string.format('(%.0f', now - kept * 1000))
  end
end
