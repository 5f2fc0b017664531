package swarm

import (
	"fmt"
	"testing"

	"github.com/shoal-cdn/shoal/member"
)

// Replicas of a pin are in as many zones as there are.
func TestReplicasAreInDifferentZones(t *testing.T) {
	var among []member.Member
	zoneOf := map[string]string{}
	for i := range 9 {
		m := member.Member{Name: fmt.Sprintf("edge-%d", i), Weight: 1 << 30, Zone: fmt.Sprintf("zone-%d", i/3)}
		among = append(among, m)
		zoneOf[m.Name] = m.Zone
	}
	rank := (&Swarm{}).Ranker(among)
	for i := range 100 {
		zones := map[string]bool{}
		for _, name := range rank(fmt.Appendf(nil, "multihash %d", i), 3) {
			zones[zoneOf[name]] = true
		}
		if len(zones) != 3 {
			t.Fatalf("content %d: 3 replicas in %d zones", i, len(zones))
		}
	}
}
