-- Takes dead letters out of their lists, and puts them elsewhere in the same step.
-- KEYS: lists. ARGV: per letter: number of its list, its text, number of the target list (0: none),
--       text to put there, channel to wake.
-- Reply: how many were still there.
local count = 0
for i = 1, #ARGV, 5 do
  -- From the right: the oldest one of equal ones.
  if redis.call('LREM', KEYS[tonumber(ARGV[i])], -1, ARGV[i + 1]) == 1 then
    count = count + 1
    local target = tonumber(ARGV[i + 2])
    if target > 0 then
      redis.call('LPUSH', KEYS[target], ARGV[i + 3])
      redis.call('PUBLISH', ARGV[i + 4], '')
    end
  end
end
return count
