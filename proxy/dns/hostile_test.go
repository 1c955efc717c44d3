package dns

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/proxy/podtest"
)

func connect(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(podtest.Soon)))
	return conn
}

func TestAQueryThatLacksItsQuestionIsRefused(t *testing.T) {
	w := start(t, shop())
	query := new(dns.Msg)
	query.SetQuestion("cart.shop.svc.cluster.local.", dns.TypeA)
	packet, err := query.Pack()
	require.NoError(t, err)
	with := func(bytes ...byte) []byte { return append(packet[:12:12], bytes...) }
	label := "\x3f" + strings.Repeat("a", 63)
	for name, packet := range map[string][]byte{
		"a header alone":                 packet[:12],
		"a part of a question":           packet[:20],
		"a name that ends nowhere":       with(63, 'a'),
		"a name that points at itself":   with(0xc0, 12, 0, byte(dns.TypeA), 0, dns.ClassINET),
		"names that point at each other": with(0xc0, 14, 0xc0, 12, 0, byte(dns.TypeA), 0, dns.ClassINET),
		"a name of more than 255 bytes":  with([]byte(strings.Repeat(label, 5) + "\x00\x00\x01\x00\x01")...),
		"a label of more than 63 bytes":  with([]byte("\x40" + strings.Repeat("a", 64) + "\x00\x00\x01\x00\x01")...),
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" over "+network, func(t *testing.T) {
				client := &dns.Conn{Conn: connect(t, network, w.Config.Address)}
				_, err := client.Write(packet)
				require.NoError(t, err)
				response, err := client.ReadMsg()
				require.NoError(t, err)
				assert.Equal(t, dns.RcodeFormatError, response.Rcode)
				assert.Equal(t, query.Id, response.Id)
			})
		}
	}
	// Less than a header, and what is no query, gets no answer.
	conn := connect(t, "udp", w.Config.Address)
	for _, packet := range [][]byte{{}, {0}, make([]byte, 11), with(make([]byte, 100)...)[:11]} {
		_, err = conn.Write(packet)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"A 127.64.0.1"}, text(w.ask("udp", "cart.shop.svc.cluster.local", dns.TypeA).Answer))
}

func TestNamesOfAnyBytesAreAnswered(t *testing.T) {
	w := start(t, shop(), startNameserver(t, resolver).address)
	longest := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61) + "."
	for name, want := range map[string]int{
		longest:                                      dns.RcodeNameError,
		strings.Repeat("a.", 127):                    dns.RcodeNameError,
		`\000\255.shop.svc.cluster.local.`:           dns.RcodeNameError,
		`c\195\164rt.shop.svc.cluster.local.`:        dns.RcodeNameError,
		`shop\.cart.svc.cluster.local.`:              dns.RcodeNameError,
		strings.Repeat("a.", 117) + "cluster.local.": dns.RcodeNameError,
		"CaRt.sHoP.SvC.cLuStEr.LoCaL.":               dns.RcodeSuccess,
	} {
		for _, network := range []string{"udp", "tcp"} {
			assert.Equal(t, want, w.ask(network, name, dns.TypeA).Rcode, name)
		}
	}
}

func TestZonesAreNotTransferred(t *testing.T) {
	upstream := startNameserver(t, resolver)
	w := start(t, shop(), upstream.address)
	for _, name := range []string{"cluster.local.", "example.com."} {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			assert.Equal(t, dns.RcodeRefused, w.ask("tcp", name, kind).Rcode)
		}
	}
	assert.Empty(t, upstream.questions())
	assert.Empty(t, w.ask("tcp", "cart.shop.svc.cluster.local", dns.TypeANY).Answer)
}

// Some programs mix upper and lower case in names, and expect them back as they were (draft-vixie-dnsext-dns0x20). Some
// nameservers do not send them back so.
func TestTheCaseOfNamesDoesNotMatter(t *testing.T) {
	lower := startNameserver(t, func(w dns.ResponseWriter, query *dns.Msg) {
		query.Question[0].Name = strings.ToLower(query.Question[0].Name)
		resolver(w, query)
	})
	w := start(t, shop(), lower.address)
	query := new(dns.Msg)
	query.SetQuestion("wWw.ExAmPlE.cOm.", dns.TypeA)
	response, _, err := new(dns.Client).Exchange(query, w.Config.Address)
	require.NoError(t, err)
	assert.Equal(t, []string{"A 192.0.2.1"}, text(response.Answer))
	assert.Equal(t, "www.example.com.", response.Question[0].Name, "the client sees what the nameserver has sent")
	own := w.ask("udp", "CaRt.ShOp.SvC.cLuStEr.LoCaL.", dns.TypeA)
	assert.Equal(t, "CaRt.ShOp.SvC.cLuStEr.LoCaL.", own.Answer[0].Header().Name)
}

func TestANameserverThatLiesIsNotBelieved(t *testing.T) {
	honest := startNameserver(t, resolver)
	for name, lie := range map[string]func(dns.ResponseWriter, *dns.Msg){
		"another name": func(w dns.ResponseWriter, query *dns.Msg) {
			query.Question[0].Name = "other.example.com."
			resolver(w, query)
		},
		"another type": func(w dns.ResponseWriter, query *dns.Msg) {
			query.Question[0].Qtype = dns.TypeTXT
			resolver(w, query)
		},
		"another id": func(w dns.ResponseWriter, query *dns.Msg) {
			query.Id++
			resolver(w, query)
		},
		"no question": func(w dns.ResponseWriter, query *dns.Msg) {
			query.Question = nil
			_ = w.WriteMsg(new(dns.Msg).SetRcode(query, dns.RcodeSuccess))
		},
		"the query":     func(w dns.ResponseWriter, query *dns.Msg) { _ = w.WriteMsg(query) },
		"half a header": func(w dns.ResponseWriter, query *dns.Msg) { _, _ = w.Write([]byte{0, 1, 2, 3, 4, 5}) },
		"a loop": func(w dns.ResponseWriter, query *dns.Msg) {
			packet := binary.BigEndian.AppendUint16(nil, query.Id)
			_, _ = w.Write(append(packet, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			liar := startNameserver(t, lie)
			w := start(t, shop(), liar.address, honest.address)
			for _, network := range []string{"udp", "tcp"} {
				assert.Equal(t, []string{"A 192.0.2.1"}, text(w.ask(network, "www.example.com", dns.TypeA).Answer))
			}
		})
	}
}

// A program gets no more than it has room for, whatever a nameserver sends.
func TestLargeAnswersOfNameserversAreTruncated(t *testing.T) {
	upstream := startNameserver(t, func(w dns.ResponseWriter, query *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(query)
		n := 60
		if w.RemoteAddr().Network() == "tcp" {
			n = 2150 // Over 64 KiB, unless names are compressed.
		}
		for i := range n {
			one, err := dns.NewRR(fmt.Sprintf("%s 60 IN A 10.0.%d.%d", query.Question[0].Name, i/250, i%250))
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, one)
		}
		m.Compress = true
		if err := w.WriteMsg(m); err != nil {
			panic(err)
		}
	})
	w := start(t, shop(), upstream.address)
	for _, room := range []uint16{0, 1232, 4096, 65535} {
		query := new(dns.Msg)
		query.SetQuestion("large.example.com.", dns.TypeA)
		if room > 0 {
			query.SetEdns0(room, false)
		}
		conn := &dns.Conn{Conn: connect(t, "udp", w.Config.Address), UDPSize: 65535}
		require.NoError(t, conn.WriteMsg(query))
		packet, err := conn.ReadMsgHeader(nil)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(packet), max(int(room), 512))
		response := new(dns.Msg)
		require.NoError(t, response.Unpack(packet))
		assert.Equal(t, room == 0, response.Truncated, room)
	}
	assert.Len(t, w.ask("tcp", "large.example.com", dns.TypeA).Answer, 2150)
}

// Programs that ask over TCP and never read must not keep the others out.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	w := start(t, huge())
	query := new(dns.Msg)
	query.SetQuestion("huge.shop.svc.cluster.local.", dns.TypeA)
	packet, err := query.Pack()
	require.NoError(t, err)
	packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	conn := connect(t, "tcp", w.Config.Address)
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(1))
	for err == nil {
		_, err = conn.Write(packet)
	}
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server waits for the client")
}
