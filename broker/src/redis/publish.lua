-- Appends messages and wakes the consumers of queues that were empty.
-- KEYS: lists. ARGV: per message: number of its list, text, channel.
for i = 1, #ARGV, 3 do
  if redis.call('LPUSH', KEYS[tonumber(ARGV[i])], ARGV[i + 1]) == 1 then
    redis.call('PUBLISH', ARGV[i + 2], '')
  end
end
return #ARGV / 3
