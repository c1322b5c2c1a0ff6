"""Work: the unit of work with what stands in its way: the gate, closed keys, quotas, four eyes."""
