package dag

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

// cborLink is the tag of a link (DAG-CBOR specification, "Links"): a byte string
// with a zero byte before the CID.
const cborLink = 42

var errCutOff = errors.New("it ends too early")

// scanCBOR goes from head to head. It returns how many items there are, up to a fault if
// there is one. Without link, links are items like others.
func scanCBOR(data []byte, link func(Link) error) (count int, err error) {
	rest, count, err := cborItem(data, link)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow its end", len(rest))
	}
	return count, err
}

// cborItem reads an item with all that is in it. It keeps no stack: for all that is open
// it is enough to know how many items are to come. Each takes a byte at least, so a claim
// of more than there are bytes is refused when it is made.
func cborItem(data []byte, link func(Link) error) (rest []byte, count int, err error) {
	tagged := false // the item before this one was the tag of a link
	for items := uint64(1); items > 0; items-- {
		major, n, rest, err := cborHead(data)
		if err != nil {
			return nil, count, err
		}
		data = rest
		if major >= cborBytes && major <= cborMap && n > uint64(len(data)) {
			return nil, count, errCutOff
		}
		count++
		switch major {
		case cborBytes, cborText:
			if tagged && major == cborBytes && link != nil {
				if err := cborCID(data[:n], link); err != nil {
					return nil, count, err
				}
			}
			data = data[n:]
		case cborArray:
			items += n
		case cborMap:
			items += 2 * n
		case cborTag:
			items++
		}
		tagged = major == cborTag && n == cborLink
		if items-1 > uint64(len(data)) {
			return nil, count, errCutOff
		}
	}
	return data, count, nil
}

// cborHead reads the head of an item: its major type and its argument, which is a
// value, a length or a number of items. DAG-CBOR has no indefinite lengths.
func cborHead(data []byte) (major byte, n uint64, rest []byte, err error) {
	if len(data) == 0 {
		return 0, 0, nil, errCutOff
	}
	major, info, data := data[0]>>5, data[0]&31, data[1:]
	if info < 24 {
		return major, uint64(info), data, nil
	}
	if info > 27 {
		return 0, 0, nil, fmt.Errorf("its items have lengths of the kind %d, which dag-cbor lacks", info)
	}
	size := 1 << (info - 24)
	if len(data) < size {
		return 0, 0, nil, errCutOff
	}
	var wide [8]byte
	copy(wide[8-size:], data)
	return major, binary.BigEndian.Uint64(wide[:]), data[size:], nil
}

func cborCID(b []byte, link func(Link) error) error {
	if len(b) == 0 || b[0] != 0 {
		return errors.New("a link does not begin with a zero byte")
	}
	c, err := castCID(b[1:])
	if err != nil {
		return fmt.Errorf("a link: %w", err)
	}
	return link(Link{CID: c})
}
