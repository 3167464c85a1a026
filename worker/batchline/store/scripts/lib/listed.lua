-- List a ledger behind all that are listed, whatever the clock says: models keep their names in the metrics in this order.
local function list_ledger(ledgers, name, now)
  if not redis.call('ZSCORE', ledgers, name) then
    local newest = redis.call('ZRANGE', ledgers, -1, -1, 'WITHSCORES')[2]
    local score = newest and math.max(tonumber(now), tonumber(newest) + 1) or tonumber(now)
    redis.call('ZADD', ledgers, string.format('%.0f', score), name)
  end
end
