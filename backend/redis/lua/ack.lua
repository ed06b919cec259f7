-- ack settles jobs that are done.
--
-- ARGV: prefix, worker or '', number of groups, then for each group: queue,
-- again, count, tokens.
--
-- Returns the positions, from 1 over all groups, of the tokens whose lease is
-- lost.
local worker, at = ARGV[2], now()
local lost, position, acked, argument = {}, 0, 0, 4
for _ = 1, tonumber(ARGV[3]) do
  local queue, again, count = ARGV[argument], ARGV[argument + 1] == '1', tonumber(ARGV[argument + 2])
  local first = argument + 3
  argument = first + count
  local key, done = leases(queue), {}
  if again or call('ZRANGEBYSCORE', key, '-inf', at, 'LIMIT', 0, 1)[1] then
    local ends = call('ZMSCORE', key, unpack(ARGV, first, argument - 1))
    for n = 1, count do
      local token = ARGV[first + n - 1]
      if ends[n] and tonumber(ends[n]) > at then
        done[#done + 1] = token
      elseif ends[n] or not again or state(queue, token, true, at) == 'lost' then
        lost[#lost + 1] = position + n
      end
    end
    if #done > 0 then
      call('HDEL', running(queue), unpack(done))
      acked = acked + call('ZREM', key, unpack(done))
    end
  elseif call('ZREM', key, unpack(ARGV, first, argument - 1)) == count then
    -- Nearly always: no lease has ended, and all are held.
    call('HDEL', running(queue), unpack(ARGV, first, argument - 1))
    acked = acked + count
  else
    for n = 1, count do
      if call('HDEL', running(queue), ARGV[first + n - 1]) == 1 then
        acked = acked + 1
      else
        lost[#lost + 1] = position + n
      end
    end
  end
  position = position + count
end
if acked > 0 then
  call('INCRBY', prefix .. 'stat:processed', acked)
  if worker ~= '' then call('INCRBY', prefix .. 'stat:processed:' .. worker, acked) end
end
return lost
