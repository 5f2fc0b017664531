package cache

// Clear forgets every block in memory, and sees to it that the fetches under way now
// do not bring any back.
func (c *Cache) Clear() {
	for _, sh := range c.shards {
		sh.clear()
	}
}
