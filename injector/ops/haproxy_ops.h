// The ops on HAProxy, for the table in op_catalog.cc.
#pragma once
#include "injector/op_type.h"
#include "injector/ops/haproxy_change.h"

namespace capsize {

const OpType& haproxy_servers();
const OpType& haproxy_weights();
const OpType& haproxy_restore_weights();
const OpType& haproxy_admin_state();
const OpType& haproxy_restore_admin_state();

}  // namespace capsize
