package ingest_test

import (
	"archive/tar"
	"crypto/sha256"
	"io"
	"testing"

	"golang.org/x/crypto/chacha20"

	"github.com/shoal-cdn/shoal/task"
)

// The CIDs here are published ones: the unixfs-v1-2025 fixtures of Kubo's
// test/cli/cid_profiles_test.go, which other implementations of IPIP-499 repeat.
// Their content comes from a ChaCha20 key stream whose key is the sha2-256 of a
// seed; names are drawn from it as bytes modulo an alphabet.

const nameAlphabet = "abcdefghijklmnopqrstuvwxyz01234567890-_"

type keyStream struct{ cipher *chacha20.Cipher }

func newKeyStream(seed string) *keyStream {
	key := sha256.Sum256([]byte(seed))
	c, err := chacha20.NewUnauthenticatedCipher(key[:], make([]byte, chacha20.NonceSize))
	if err != nil {
		panic(err)
	}
	return &keyStream{c}
}

func (k *keyStream) Read(p []byte) (int, error) {
	clear(p)
	k.cipher.XORKeyStream(p, p)
	return len(p), nil
}

func (k *keyStream) name(n int) string {
	raw := make([]byte, n)
	_, _ = k.Read(raw)
	for i, b := range raw {
		raw[i] = nameAlphabet[int(b)%len(nameAlphabet)]
	}
	return string(raw)
}

// streamOne writes an archive of one file without holding it in memory.
func streamOne(size int64, body io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		tw := tar.NewWriter(pw)
		err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: size})
		if err == nil {
			_, err = io.CopyN(tw, body, size)
		}
		if err == nil {
			err = tw.Close()
		}
		pw.CloseWithError(err)
	}()
	return pr
}

func TestFileCIDsArePublishedOnes(t *testing.T) {
	for _, tc := range []struct {
		name, seed string
		size       int64
		want       string
	}{
		{"one chunk", "chunk-v1-seed", 1 << 20, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"},
		{"one byte more", "chunk-v1-seed", 1<<20 + 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"},
		{"one full node", "v1-2025-seed", 1 << 30, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"},
		{"two levels", "v1-2025-seed", 1<<30 + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.size > 1<<29 && (testing.Short() || raceDetector) {
				t.Skip("1 GiB of content")
			}
			t.Parallel()
			m := newMemory()
			m.noLeaves = true
			res, err := newIngester(t, m).Tar(t.Context(), streamOne(tc.size, newKeyStream(tc.seed)), task.Import{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.CID.String() != tc.want || res.Bytes != tc.size {
				t.Errorf("got %s of %d bytes, want %s", res.CID, res.Bytes, tc.want)
			}
		})
	}
}

func TestSmallCIDsArePublishedOnes(t *testing.T) {
	for _, tc := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"hello world", []entry{file("hello.txt", "hello world")}, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
		{"empty file", []entry{file("empty", "")}, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
		{"empty folder", []entry{dir("./")}, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := importTar(t, newIngester(t, newMemory()), task.Import{Pin: true}, tc.entries...)
			if res.CID.String() != tc.want {
				t.Errorf("got %s, want %s", res.CID, tc.want)
			}
		})
	}
}

func TestFolderCIDsArePublishedOnesAroundTheShardingLimit(t *testing.T) {
	for _, tc := range []struct {
		name string
		last int // bytes of the last name: 21 makes the folder's block 256 KiB exactly
		want string
	}{
		{"at the limit: one block", 21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"},
		{"one byte over: a HAMT", 22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const count = 4766
			names := newKeyStream("hamt-unixfs-v1-2025")
			entries := []entry{dir("./")}
			want := map[string]string{"": "/"}
			for i := range count {
				n := 11
				if i == count-1 {
					n = tc.last
				}
				name := names.name(n)
				entries = append(entries, file(name, "x"))
				want[name] = "x"
			}
			m := newMemory()
			res := importTar(t, newIngester(t, m), task.Import{Pin: true}, entries...)
			if res.CID.String() != tc.want {
				t.Errorf("got %s, want %s", res.CID, tc.want)
			}
			wantContents(t, m, res.CID, want)
		})
	}
}
