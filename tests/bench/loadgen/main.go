// SPDX-License-Identifier: Apache-2.0
// loadgen: deterministic OTLP trace load (Go stdlib only).
//   go run loadgen.go -url http://127.0.0.1:4318/v1/traces -spans 1000000 -batch 25 -conns 4 -window 600
// Every trace has 8 spans in 3 services (nginx SERVER+CLIENT, api SERVER, 2 x postgres CLIENT, INTERNAL, 2 x postgres SERVER),
// attributes after the OTel semantic conventions that Beyla/OBI emit.  Trace i: id = 16 bytes of splitmix64(i).
package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func sm(x *uint64) uint64 {
	*x += 0x9E3779B97F4A7C15
	z := *x
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

type buf struct{ b []byte }

func (p *buf) v(x uint64)        { p.b = binary.AppendUvarint(p.b, x) }
func (p *buf) tag(f, w int)      { p.v(uint64(f<<3 | w)) }
func (p *buf) str(f int, s string) {
	p.tag(f, 2)
	p.v(uint64(len(s)))
	p.b = append(p.b, s...)
}
func (p *buf) msg(f int, m []byte) {
	p.tag(f, 2)
	p.v(uint64(len(m)))
	p.b = append(p.b, m...)
}
func (p *buf) f64(f int, x uint64) { p.tag(f, 1); p.b = binary.LittleEndian.AppendUint64(p.b, x) }
func kvs(k, v string) []byte {
	var a, m buf
	a.str(1, v)
	m.str(1, k)
	m.msg(2, a.b)
	return m.b
}
func kvi(k string, v int64) []byte {
	var a, m buf
	a.tag(3, 0)
	a.v(uint64(v))
	m.str(1, k)
	m.msg(2, a.b)
	return m.b
}

type span struct {
	tid, sid, pid []byte
	name          string
	kind          int
	st, en        uint64
	attrs         [][]byte
	status        int
}

func (s *span) enc() []byte {
	var p buf
	p.msg(1, s.tid)
	p.msg(2, s.sid)
	if s.pid != nil {
		p.msg(4, s.pid)
	}
	p.str(5, s.name)
	p.tag(6, 0)
	p.v(uint64(s.kind))
	p.f64(7, s.st)
	p.f64(8, s.en)
	for _, a := range s.attrs {
		p.msg(9, a)
	}
	var st buf
	if s.status != 0 {
		st.tag(3, 0)
		st.v(uint64(s.status))
	}
	p.msg(15, st.b)
	return p.b
}

var routes = [...][3]string{{"GET", "/orders/:id", "/orders/%d"}, {"POST", "/orders", "/orders"}, {"GET", "/users/:id", "/users/%d"}, {"GET", "/health", "/health"}, {"GET", "/search", "/search"}, {"DELETE", "/orders/:id", "/orders/%d"}}
var sqls = [...][3]string{{"SELECT", "orders", "SELECT id, total FROM orders WHERE id = $1"}, {"INSERT", "orders", "INSERT INTO orders (user_id, total) VALUES ($1, $2)"}, {"SELECT", "users", "SELECT * FROM users WHERE id = $1"}, {"UPDATE", "stock", "UPDATE stock SET qty = qty - 1 WHERE sku = $1"}}

func resource(svc string, pod int) []byte {
	var r buf
	for _, a := range [][]byte{kvs("service.name", svc), kvs("service.namespace", "shop"), kvs("service.version", "1.2.3"), kvs("service.instance.id", fmt.Sprintf("%s-%d", svc, pod)), kvs("telemetry.sdk.language", "go"), kvs("telemetry.sdk.name", "opentelemetry-ebpf-instrumentation"), kvs("k8s.namespace.name", "prod"), kvs("k8s.pod.name", fmt.Sprintf("%s-7d9f-%d", svc, pod)), kvs("k8s.node.name", fmt.Sprintf("node-%d", pod%2)), kvs("k8s.deployment.name", svc), kvs("k8s.cluster.name", "kind"), kvs("host.name", fmt.Sprintf("host-%d", pod%2)), kvs("os.type", "linux")} {
		r.msg(1, a)
	}
	return r.b
}

// one export request holding traces [i, i+n)
func request(i, n int, t0, window uint64, total int) []byte {
	var groups [3][][]byte // nginx, api, postgres
	for t := i; t < i+n; t++ {
		x := uint64(t) * 0x2545F4914F6CDD1D
		tid := make([]byte, 16)
		binary.BigEndian.PutUint64(tid, sm(&x)|1<<63)
		binary.BigEndian.PutUint64(tid[8:], sm(&x))
		id := func() []byte { b := make([]byte, 8); binary.BigEndian.PutUint64(b, sm(&x)|1); return b }
		r := sm(&x)
		rt := routes[r%6]
		path := rt[2]
		if strings.Contains(path, "%d") {
			path = fmt.Sprintf(path, r>>8%100000)
		}
		st := t0 + uint64(float64(t)/float64(total)*float64(window)*1e9)
		d := uint64(100000) << ((r >> 20) % 16) // 100us .. 3.2s
		code := int64(200)
		status := 0
		if r>>32%20 == 0 {
			code, status = 500, 2
		}
		ids := [8][]byte{id(), id(), id(), id(), id(), id(), id(), id()}
		http1 := [][]byte{kvs("http.request.method", rt[0]), kvs("url.path", path), kvs("http.route", rt[1]), kvi("http.response.status_code", code), kvs("server.address", "shop.example.com"), kvi("server.port", 80), kvs("client.address", fmt.Sprintf("10.0.%d.%d", r>>40%4, r>>44%250)), kvs("url.scheme", "http"), kvi("http.request.body.size", int64(r>>48%2000)), kvi("http.response.body.size", int64(r>>50%9000))}
		nm := rt[0] + " " + rt[1]
		groups[0] = append(groups[0], (&span{tid, ids[0], nil, nm, 2, st, st + d, http1, status}).enc(),
			(&span{tid, ids[1], ids[0], rt[0], 3, st + d/20, st + d*19/20, [][]byte{kvs("http.request.method", rt[0]), kvi("http.response.status_code", code), kvs("server.address", "api"), kvi("server.port", 8080), kvs("url.full", "http://api:8080"+path), kvs("network.peer.address", "10.96.0.10")}, status}).enc())
		groups[1] = append(groups[1], (&span{tid, ids[2], ids[1], nm, 2, st + d/10, st + d*9/10, http1, status}).enc(),
			(&span{tid, ids[3], ids[2], "processing", 1, st + d/9, st + d*8/10, nil, 0}).enc())
		for k := 0; k < 2; k++ {
			q := sqls[(r>>12+uint64(k))%4]
			a := [][]byte{kvs("db.system.name", "postgresql"), kvs("db.query.text", q[2]), kvs("db.operation.name", q[0]), kvs("db.collection.name", q[1]), kvs("db.namespace", "shop"), kvs("server.address", "postgres"), kvi("server.port", 5432)}
			s := st + d/8 + uint64(k)*d/4
			groups[1] = append(groups[1], (&span{tid, ids[4+2*k], ids[3], q[0] + " " + q[1], 3, s, s + d/5, a, 0}).enc())
			groups[2] = append(groups[2], (&span{tid, ids[5+2*k], ids[4+2*k], q[0] + " " + q[1], 2, s + d/50, s + d/6, a[:5], 0}).enc())
		}
	}
	var out, scope buf
	scope.str(1, "go.opentelemetry.io/obi")
	scope.str(2, "0.5.0")
	for g, svc := range []string{"nginx", "api", "postgres"} {
		var ss, rs buf
		ss.msg(1, scope.b)
		for _, s := range groups[g] {
			ss.msg(2, s)
		}
		rs.msg(1, resource(svc, i/n%4))
		rs.msg(2, ss.b)
		out.msg(1, rs.b)
	}
	return out.b
}

func main() {
	url := flag.String("url", "http://127.0.0.1:4318/v1/traces", "OTLP endpoint ")
	spans := flag.Int("spans", 1000000, "total spans (8 per trace)")
	batch := flag.Int("batch", 25, "traces per request")
	conns := flag.Int("conns", 4, "concurrent senders")
	window := flag.Int("window", 600, "trace start times spread over this many seconds, ending -lag before now")
	lag := flag.Int("lag", 5, "seconds before now of the newest trace")
	t0f := flag.Int64("t0", 0, "unix seconds of the first trace (default now-lag-window)")
	first := flag.Int("first", 0, "index of the first trace (use another value for more data)")
	rate := flag.Float64("rate", 0, "limit spans/s (0 = as fast as possible)")
	dump := flag.String("dump", "", "write the first request body to FILE and exit")
	flag.Parse()
	total := *spans / 8
	t0 := uint64(*t0f)
	if t0 == 0 {
		t0 = uint64(time.Now().Unix() - int64(*lag) - int64(*window))
	}
	t0n := t0 * 1e9
	if *dump != "" {
		os.WriteFile(*dump, request(*first, *batch, t0n, uint64(*window), total), 0644)
		return
	}
	nreq := (total + *batch - 1) / *batch
	tr := &http.Transport{MaxIdleConnsPerHost: *conns, MaxConnsPerHost: *conns, DisableCompression: true}
	target := *url
	cl := &http.Client{Transport: tr, Timeout: 60 * time.Second}
	var next, sent, failed, nbytes, gen atomic.Int64
	lat := make([][]float64, *conns)
	var wg sync.WaitGroup
	begin := time.Now()
	for c := 0; c < *conns; c++ {
		wg.Add(1)
		go func(c int) {
			defer wg.Done()
			for {
				k := int(next.Add(1)) - 1
				if k >= nreq {
					return
				}
				n := *batch
				if (k+1)*n > total {
					n = total - k*n
				}
				if n <= 0 {
					return
				}
				a0 := time.Now()
				body := request(*first+k**batch, n, t0n, uint64(*window), total+*first)
				gen.Add(int64(time.Since(a0)))
				if *rate > 0 {
					due := begin.Add(time.Duration(float64(k**batch*8) / *rate * 1e9))
					time.Sleep(time.Until(due))
				}
				for try := 0; ; try++ {
					b := body
					req, _ := http.NewRequest("POST", target, bytes.NewReader(b))
					req.Header.Set("Content-Type", "application/x-protobuf")
					s := time.Now()
					resp, err := cl.Do(req)
					ok := false
					why := ""
					if err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						ok = resp.StatusCode == 200
						why = resp.Status
					} else {
						why = err.Error()
					}
					if ok {
						lat[c] = append(lat[c], time.Since(s).Seconds()*1000)
						sent.Add(int64(n * 8))
						nbytes.Add(int64(len(body)))
						break
					}
					if failed.Add(1) <= 3 {
						fmt.Fprintln(os.Stderr, "request failed:", why)
					}
					if try >= 20 {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		}(c)
	}
	wg.Wait()
	el := time.Since(begin).Seconds()
	var all []float64
	for _, l := range lat {
		all = append(all, l...)
	}
	sort.Float64s(all)
	q := func(p float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return all[int(p*float64(len(all)-1))]
	}
	fmt.Printf("{\"spans\":%d,\"seconds\":%.2f,\"spans_per_s\":%.0f,\"bytes\":%d,\"bytes_per_span\":%.1f,\"requests\":%d,\"retries\":%d,\"lat_ms_p50\":%.2f,\"lat_ms_p99\":%.2f,\"gen_cpu_s\":%.1f,\"t0\":%d,\"window\":%d}\n", sent.Load(), el, float64(sent.Load())/el, nbytes.Load(), float64(nbytes.Load())/float64(sent.Load()+1), len(all), failed.Load(), q(.5), q(.99), float64(gen.Load())/1e9, t0, *window)
}
