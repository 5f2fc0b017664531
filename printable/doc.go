// Package printable says which characters may be in a name, and shows text of others without
// letting it do anything.
//
// A name with an escape sequence moves the cursor of whoever lists it, or colours what
// another one says; one with a line end makes a line of its own; one with a bidirectional
// override reads as something else (Unicode UAX #9; "Trojan Source", CVE-2021-42574). So
// names are refused where they come in ([Check]), and whatever did not come in here, from
// siblings or from earlier versions, is escaped where it goes out ([Escape], [JSON]).
package printable
