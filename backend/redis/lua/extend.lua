-- extend prolongs leases.
--
-- ARGV: prefix, lease in milliseconds, number of groups, then for each group:
-- queue, count, tokens.
--
-- Returns the positions, from 1 over all groups, of the tokens whose lease is
-- lost.
local at = now()
local ends = at + tonumber(ARGV[2])
local lost, position, argument = {}, 0, 4
for _ = 1, tonumber(ARGV[3]) do
  local queue, count = ARGV[argument], tonumber(ARGV[argument + 1])
  local first = argument + 2
  argument = first + count
  local scores = call('ZMSCORE', leases(queue), unpack(ARGV, first, argument - 1))
  local terms = {}
  for n = 1, count do
    if scores[n] and tonumber(scores[n]) > at then
      terms[#terms + 1] = ends
      terms[#terms + 1] = ARGV[first + n - 1]
    else
      lost[#lost + 1] = position + n
    end
  end
  position = position + count
  if #terms > 0 then
    call('ZREM', leases(queue), '') -- a write that needs no memory comes first
    call('ZADD', leases(queue), unpack(terms))
    expect('l', queue, ends)
  end
end
return lost
