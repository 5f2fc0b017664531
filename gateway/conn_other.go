//go:build !unix

package gateway

// readMore reads what has arrived, and waits if that is nothing.
func (w *wire) readMore(into **[]byte, get func() *[]byte, _ func(*[]byte)) error {
	return w.readDirectly(into, get)
}
