// Package release has visitors of a site see whole releases only: it stands between
// the names and the gateway.
//
// # The story of a release
//
// A [Follower] follows the name of each site of the configuration. What a name leads
// to now is a release. A new one is made known to the pins, which have the fleet fetch
// it whole; until that is done, [Follower.Resolve] goes on answering with the last
// release that was whole. Then the new one goes live, is remembered on this edge's
// disk, and the old one is no more asked for.
//
// An edge that knows no last release, because it is new or the site is, answers with
// what the name says at once: there is nothing better to show.
//
// # How long a release may be held back
//
// As long as it is being fetched. There is no time after which half a release is
// shown, because the wait has a cause that somebody should see: a line in the log
// after a minute and then now and again, [Follower.Waiting] for the
// statistics, and the metric shoal_site_release_waiting_seconds. A release with a block
// that nobody has stays away until the block turns up or the name leads elsewhere.
//
// A release that can never be pinned, because it does not fit beside what else is
// pinned or is beyond the limits for a DAG, goes live all the same, unpinned, through
// the cache like everything else. The log says so once.
//
// A site that is given by a CID has one release, which is pinned, and served from the
// start.
//
// # What happens when
//
//   - a name cannot be resolved: what was last known goes on; it is tried again after
//     growing pauses.
//   - the name leads elsewhere while a release waits: the newest is waited for.
//   - the edge restarts: the last release that was whole is known again.
package release
