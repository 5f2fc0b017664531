package cache

// Lend takes bytes out of the budget for somebody who keeps the same content in
// another form, evicting what no longer fits; a negative number gives them back.
// At least an eighth of the budget is never lent.
func (c *Cache) Lend(bytes int64) {
	c.budget.Lock()
	defer c.budget.Unlock()
	c.lent += bytes
	c.share()
}

// Resize changes [Options.Bytes], evicting what no longer fits. The cache keeps the
// number of shards that it was made with, so one that shrinks to a small part of its
// size no longer takes the largest blocks. A negative size counts as 0.
func (c *Cache) Resize(bytes int64) {
	c.budget.Lock()
	defer c.budget.Unlock()
	c.capacity = max(bytes, 0)
	c.share()
}

// Capacity is the memory that may be held, lent bytes included.
func (c *Cache) Capacity() int64 {
	c.budget.Lock()
	defer c.budget.Unlock()
	return c.capacity
}

// share divides what is not lent among the shards. The caller holds budget.
func (c *Cache) share() {
	left := max(c.capacity-c.lent, c.capacity/8)
	for _, sh := range c.shards {
		sh.resize(left / int64(len(c.shards)))
	}
}

// Bytes is the memory that the cached blocks hold, their overhead included, but for
// what is held by [Cache.Hold].
func (c *Cache) Bytes() int64 { return c.sum().bytes }

// Len is the number of blocks in memory.
func (c *Cache) Len() int { return c.sum().entries }
