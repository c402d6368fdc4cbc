// Every probe, one function each, for THE table (probe_catalog.cc).
#pragma once
#include "probes/probe.h"

namespace capsize {

const ProbeType& login_http();
const ProbeType& login_oauth2();
const ProbeType& login_basic();
const ProbeType& login_ldap();
const ProbeType& login_radius();
const ProbeType& balancer_shares();
const ProbeType& tcp_connect();
const ProbeType& http_get();
const ProbeType& exec_probe();
const ProbeType& prometheus_query();
const ProbeType& alert_fired();

}  // namespace capsize
