-- How many bytes the body of an entry has, of its fields and values in turn.
local function body_size(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'body' then
      return #fields[i + 1]
    end
  end
  return 0
end
