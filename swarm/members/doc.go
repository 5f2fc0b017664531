// Package members knows who belongs to a fleet and who of them is there. There is
// no coordinator: every edge finds out for itself, and tells others whom it knows.
//
// # Who belongs
//
// A fleet shares one secret. An edge's identity, the ed25519 key that its
// connections are authenticated with, is derived from that secret and its name:
//
//	seed = HKDF-SHA256(secret, salt "shoal swarm identity 1", info name), 32 bytes
//
// So whoever knows the secret knows the peer ID of every name, and a connection
// from that peer ID can only come from somebody who knows the secret too. Nothing
// else proves membership and nothing is sent that gives the secret away. A peer
// that connects with an unknown ID has a few seconds to say a name that derives to
// that ID; it can do nothing else meanwhile, and few may try at once.
//
// # Finding each other
//
// Addresses come from static entries (name@host:port, resolved anew at each dial),
// from a DNS name whose SRV or A records list the edges (looked up again every few
// seconds; records give addresses without names, so an edge dials, learns the peer
// ID, and asks for the name), and from other members, who pass on whom they know. An
// edge that is dialed by a member it does not know yet dials back. It is enough that
// each edge can reach one that is connected with the rest.
//
// # The member protocol
//
// Each edge opens one stream to each member (protocol /shoal/member/1) and keeps
// it. Messages are JSON with their length in front as a varint. The one that opened
// the stream says hello and then sends pings; the other answers each message with
// one of its own. Everything else rides along:
//
//	hello    version, name, zone, disk capacity, addresses, instance, leaving
//	refused  instead of a hello: why, and whether trying again makes sense
//	ping     a number; answered with the same number
//	peers    names and addresses of the members that are alive, when they changed
//	leaving  this edge is about to stop: put nothing at home there any more
//
// # Alive, suspect, lost, left
//
// Pings go out every quarter of a second, more seldom in fleets of hundreds, and
// at once when somebody who waits for a member asks for it ([Fleet.Probe]). Anything
// that arrives from a member counts as a sign of life. A ping that stays unanswered
// for longer than is usual for that member (60 ms to half a second) makes the member
// suspect: requests go around it, but it stays home to its blocks, because it may
// only be busy. After [Options].LostAfter it is lost: out of the ring. A connection
// that breaks and cannot be made again at once has the same effect immediately, so
// a killed process is noticed within milliseconds and a frozen one within the time
// of a request. If this process itself was held up, it does not blame the others.
//
// A member that said it is leaving has left once its connections have ended, once it
// does not answer any more, or after ten minutes. From then on nobody asks it or
// misses it; what it had, it has handed over. It is welcome when it has started again.
//
// A lost member is dialed again, first at once, then at most every two seconds, for
// as long as it is configured, or ten minutes.
//
// # Two edges with one name
//
// They have the same peer ID, so a member cannot tell them apart by that. Each
// process therefore draws an instance when it starts. Of two instances that are
// both alive, the one that started first stays; the other is refused, says so in its
// log and stands aside: it serves visitors, but is home to nothing. It asks again
// every few seconds and takes the name when it is free. A process that was killed
// and started again is not refused for long: its predecessor no longer answers.
//
// # Failures
//
// An edge with another secret cannot connect: each side sees a peer ID that is not
// the one its own secret derives. That is logged once for each address, and tried
// again every half minute, in case the configuration was mended.
//
// # Locks
//
// Fleet.mu guards everything of [Fleet] and of its members; it is not held while
// something is dialed, sent or called back.
package members
