# SPDX-License-Identifier: Apache-2.0
# How Puma serves config.ru: one process, as many threads as there are connections in both pools.

bind "tcp://127.0.0.1:#{ENV.fetch('PORT')}"
environment 'production'
threads 16, 16
