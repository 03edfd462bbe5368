-- Binds a queue as kombu 5.7 does, so that its sweep leaves the binding alone for a while.
-- KEYS: binding set, deadlines. ARGV: member, exchange, milliseconds.
redis.call('SADD', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
return redis.call('ZADD', KEYS[2], 'GT', ms + tonumber(ARGV[3]), ARGV[2])
