-- status updates the status of jobs as php-resque keeps it, if there is one.
--
-- ARGV: prefix, seconds to keep it or 0 for as long as it is kept already, then for each job: key, value.
for n = 3, #ARGV, 2 do
  local key = prefix .. ARGV[n]
  if call('EXISTS', key) == 1 then
    if ARGV[2] == '0' then
      call('SET', key, ARGV[n + 1], 'KEEPTTL')
    else
      call('SET', key, ARGV[n + 1], 'EX', ARGV[2])
    end
  end
end
return 0
