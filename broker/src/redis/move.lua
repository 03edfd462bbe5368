-- Moves reserved messages somewhere else, each in one step with the end of its reservation.
-- KEYS: unacked, unacked_index, leases, unreadable, then target keys.
-- ARGV: per message: lease member, how (next: right end, last: left end, at: sorted set), number of
--       its target key, due time in seconds (at), text, channel to wake ("" for none).
-- Reply: per message 1, or 0 when the lease is gone.
local reply = {}
for i = 1, #ARGV, 6 do
  local member, how, target = ARGV[i], ARGV[i + 1], KEYS[4 + tonumber(ARGV[i + 2])]
  local due, text, channel = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local held = redis.call('ZREM', KEYS[3], member)
  reply[#reply + 1] = held
  if held == 1 then
    local tag = string.match(member, '^(.*)|[^|]*$')
    if string.sub(tag, 1, 1) == '!' then
      redis.call('HDEL', KEYS[4], tag)
    else
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
    end
    if how == 'at' then
      redis.call('ZADD', target, due, text)
    elseif how == 'next' then
      redis.call('RPUSH', target, text)
    else
      redis.call('LPUSH', target, text)
    end
    if channel ~= '' then redis.call('PUBLISH', channel, '') end
  end
end
return reply
