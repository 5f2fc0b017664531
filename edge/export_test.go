package edge

import "strings"

// Held returns the roots that pins hold on this edge.
func (e *Edge) Held() (roots []string) {
	for _, owner := range e.store.Owners() {
		if root, ok := strings.CutPrefix(owner, "pin/"); ok {
			roots = append(roots, root)
		}
	}
	return roots
}
