// Package members knows who belongs to a fleet and who of them is there. There is no
// coordinator: hashicorp/memberlist, an implementation of SWIM with Lifeguard, spreads who
// there is and finds out who is gone, at a cost for each edge that does not grow with the
// fleet. This package proves who belongs, carries memberlist's messages, and knows sooner
// than it what somebody waits for.
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
// # Two ways, one port number
//
// memberlist's packets (probes, gossip; at most 1400 bytes) go over UDP to the number of
// the swarm's TCP port, encrypted and authenticated by AES-256-GCM with a key of the fleet:
//
//	key = HKDF-SHA256(secret, salt "shoal swarm packets 1"), 32 bytes
//
// A packet that is recorded and sent again says nothing that its subject would not
// refute, because states are numbered. Its streams (the exchange of all that two edges
// know, probes where no packet passes) go over the swarm's libp2p connections, protocol
// /shoal/swim/1, so there is no second TCP port and no second proof of identity. Packets
// do not go there, because probing somebody at random would then need a connection with
// everybody; where UDP does not pass, detection works by streams, what is new spreads
// only by exchanges, every five seconds and more, and the log says so.
//
// memberlist is told the same address for everybody: it finds members by name, and this
// package by their metadata, in which each says what it says in a hello, too: its zone,
// disk capacity, addresses, UDP port, instance, and whether it is leaving (512 bytes at
// most). So an edge may come back at another address without a conflict.
//
// # Finding each other
//
// Addresses come from static entries (name@host:port, resolved anew at each dial), from
// a DNS name whose SRV or A records list the edges (looked up again every few seconds;
// records give addresses without names, so an edge dials, learns the peer ID, and asks
// for the name), and by SWIM. An edge says hello to whom it finds, and then the two
// exchange all that they know. It is enough that each edge can reach one that is
// connected with the rest.
//
// # Hello
//
// A hello is a stream of protocol /shoal/member/1 on which each side sends one message,
// JSON with its length in front as a varint: hello, or refused with a reason. It is how
// edges meet, how a member is asked for a sign of life, how one says that it leaves, and
// how two agree to close an idle connection. Both sides must have the same version of it.
//
// # Alive, suspect, lost, left
//
// Nobody is pinged all the time. SWIM probes one member a second and needs some ten
// seconds to be sure of a death that nobody notices otherwise. But:
//
//   - When somebody waits for a member, it is asked at once ([Fleet.Probe]). One that does
//     not answer as soon as it usually does (60 ms to half a second) is suspect: requests
//     go around it, but it stays home to its blocks, because it may only be busy. After
//     [Options].LostAfter it is lost: out of the ring. Anything that arrives from it
//     counts as an answer. If this process itself was held up, it does not blame others.
//   - When the last connection with a member breaks, it is lost, and dialed at once. So a
//     killed process is out of the ring within milliseconds.
//   - Whoever finds that nobody listens any more at a member's address announces it by
//     gossip. Others do not believe it, but look for themselves.
//
// So what each edge thinks of another may differ for a moment, as it always could.
//
// A member that said it is leaving has left once its connections have ended, once it
// does not answer any more, or after ten minutes. From then on nobody asks it or
// misses it; what it had, it has handed over. It is welcome when it has started again.
//
// A lost member is dialed again, first at once, then at most every two seconds, and the
// more seldom the more are lost, for as long as it is configured, or ten minutes. When
// the two halves of a fleet that was cut see each other again, the first that meet
// exchange all that they know.
//
// # Connections
//
// In a fleet of up to [Options].Warm members each edge keeps a connection with each other,
// so that no request waits for a handshake. In a larger one they are made when needed
// ([Fleet.Connect]), and closed when neither side has needed one for a minute.
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
// again every half minute, in case the configuration was mended. Its packets cannot be
// decrypted, and are dropped.
//
// # Locks
//
// Fleet.mu guards everything of [Fleet] and of its members; it is not held while
// something is dialed, sent or called back. memberlist calls this package while it holds
// a lock of its own, so memberlist is never called while Fleet.mu is held.
package members
