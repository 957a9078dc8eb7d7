// SPDX-License-Identifier: Apache-2.0

// The back end of tests/context: answers GET /b/<id> after 1 to 3 ms and remembers every path that
// it was asked for, so that what a program called does not have to be taken from its spans. GET
// /seen tells the paths since the last time, one a line, and forgets them. It is not traced.
package main

import (
	"fmt"
	"hash/crc32"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

var (
	lock sync.Mutex
	seen []string
)

func answer(w http.ResponseWriter, r *http.Request) {
	lock.Lock()
	seen = append(seen, r.URL.Path)
	lock.Unlock()
	time.Sleep(time.Duration(1+crc32.ChecksumIEEE([]byte(r.URL.Path))%3) * time.Millisecond)
	fmt.Fprintln(w, "back end")
}

func tell(w http.ResponseWriter, _ *http.Request) {
	lock.Lock()
	paths := seen
	seen = nil
	lock.Unlock()
	fmt.Fprint(w, strings.Join(paths, "\n"))
}

func main() {
	http.HandleFunc("/b/", answer)
	http.HandleFunc("/seen", tell)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
