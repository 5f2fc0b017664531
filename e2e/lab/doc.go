// Package lab runs fleets to look at from outside: edges that are real processes,
// an origin that counts, and a crowd. The tests in e2e and the measurements in
// bench/fleet are made of it.
//
//	binary, err := lab.Build(ctx, dir)
//	site, err := lab.NewSite(...)           // content, in blocks
//	origin, err := lab.NewOrigin(site)      // a trustless gateway that counts
//	fleet := lab.NewFleet(binary, dir, origin.URL())
//	err = fleet.Start(ctx, 4)               // returns when all see each other
//	result := lab.Crowd{...}.Visit(ctx, fleet.Edges, ...)
//	origin.Fetches()                        // against len(site.Blocks)
//
// Whatever listens does so on a port that the kernel chose. Nothing here waits for a
// fixed time and hopes: waits are for conditions and end with their context.
package lab
