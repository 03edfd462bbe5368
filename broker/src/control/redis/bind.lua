-- Binds a reply queue as kombu 5.7 does, so that its sweep leaves the binding alone for a while, and
-- removes bindings of ours whose process did not live to do so.
-- KEYS: binding set, deadlines, ours. ARGV: member, exchange, milliseconds for the sweep, for ours.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leftovers = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)
for _, member in ipairs(leftovers) do
  redis.call('SREM', KEYS[1], member)
  redis.call('ZREM', KEYS[3], member)
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 'GT', now + tonumber(ARGV[3]), ARGV[2])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[1])
return #leftovers
