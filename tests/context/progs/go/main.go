// SPDX-License-Identifier: Apache-2.0

// Go: net/http on both sides, database/sql with lib/pq; what happens at once are goroutines.
package main

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	_ "github.com/lib/pq"
)

const poolSize = 8

var (
	client = &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: poolSize, MaxIdleConnsPerHost: poolSize}}
	db *sql.DB
)

func fetch(name string) error {
	resp, err := client.Get("http://" + os.Getenv("BACKEND") + "/b/" + name)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func query(alias string) error {
	_, err := db.Exec("SELECT pg_sleep(0.002) AS " + alias)
	return err
}

func atOnce(calls ...func() error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(calls))
	for i, call := range calls {
		wg.Add(1)
		go func(i int, call func() error) {
			defer wg.Done()
			errs[i] = call()
		}(i, call)
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func work(id string) error {
	pause := time.Duration(1+id[len(id)-1]%4) * time.Millisecond
	time.Sleep(pause)
	if err := fetch(id + "-1"); err != nil {
		return err
	}
	if err := query("r_" + id + "_2"); err != nil {
		return err
	}
	time.Sleep(pause)
	return atOnce(
		func() error { return fetch(id + "-3") },
		func() error { return query("r_" + id + "_4") })
}

func handle(w http.ResponseWriter, r *http.Request) {
	if err := work(strings.TrimPrefix(r.URL.Path, "/r/")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "done")
}

func background() {
	for n := 0; ; n++ {
		time.Sleep(20 * time.Millisecond)
		if err := fetch(fmt.Sprintf("bg-%d", n)); err != nil {
			log.Print(err)
		}
		if err := query(fmt.Sprintf("bg_%d", n)); err != nil {
			log.Print(err)
		}
	}
}

func main() {
	var err error
	if db, err = sql.Open("postgres", "sslmode=disable"); err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	go background()
	http.HandleFunc("/r/", handle)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
