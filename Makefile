EXTENSION    = spool
EXTVERSION   = $(shell sed -n "s/^default_version *= *'\([^']*\)'.*/\1/p" $(EXTENSION).control)
MODULE_big   = $(EXTENSION)
OBJS         = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
SQL_PARTS    = $(sort $(wildcard sql/parts/*.sql))
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA         = $(filter-out $(DATA_built),$(wildcard sql/$(EXTENSION)--*.sql))
SCRIPTS      = bin/spool

# pg_regress: sources in test/sql, expected output in ./expected
REGRESS      = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=. --load-extension=$(EXTENSION)
ISOLATION      = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation --load-extension=$(EXTENSION)
PROVE_TESTS ?= test/t/*.pl
# the servers of these tests are driven by prove and IPC::Run
TAP_TESTS   := $(if $(wildcard $(PROVE_TESTS)),$(shell prove --version >/dev/null 2>&1 && perl -MIPC::Run -e 'print 1' 2>/dev/null))
EXTRA_CLEAN  = results regression.diffs regression.out tmp_check test/isolation/log \
               test/isolation/results test/isolation/output_iso \
               test/isolation/regression.diffs test/isolation/regression.out \
               src/exec/spool-exec test/unit/packet_test test/fuzz/packet_fuzz

PG_CPPFLAGS += -I$(srcdir)/src
PG_CFLAGS   += -Wall -Wextra -Wno-unused-parameter
PG_CONFIG   ?= pg_config
PGXS        := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

# These do without PGXS: on a bare machine they install it first.
BARE_GOALS   = deps test demo fuzz soak bench bench-peers checkver
ifneq ($(PGXS),)
include $(PGXS)
else ifneq ($(filter-out $(BARE_GOALS),$(or $(MAKECMDGOALS),all)),)
$(error $(PG_CONFIG) knows no server development files: "make deps" installs them)
endif

# PGXS tracks no header dependencies
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h)

sql/$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS)
	cat $^ > $@

# The supervisor of programs: a program of its own, beside the library.
SPOOL_EXEC = src/exec/spool-exec

$(SPOOL_EXEC): src/exec/spool_exec.c src/exec/spool_exec.h
	$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_EX) $< -o $@

$(OBJS) $(OBJS:.o=.bc): src/exec/spool_exec.h
all: $(SPOOL_EXEC)
install: install-exec
uninstall: uninstall-exec

.PHONY: install-exec uninstall-exec
install-exec: $(SPOOL_EXEC) installdirs
	$(INSTALL_PROGRAM) $(SPOOL_EXEC) '$(DESTDIR)$(pkglibdir)/spool-exec'

uninstall-exec:
	rm -f '$(DESTDIR)$(pkglibdir)/spool-exec'

# ---- Tests and tools: everything from a bare machine on is in test/run ----
.PHONY: $(BARE_GOALS) indent-check typedefs

deps test demo fuzz soak bench bench-peers:
	@test/run $@

# The differences to PostgreSQL's own layout; nothing is changed.
indent-check: all
	@test/suite format

# Names of types for the formatter, beyond those that it finds in the binaries.
typedefs: all
	test/suite typedefs > src/typedefs.list

# spool.control, META.json (which wants three numbers) and CHANGELOG.md agree.
checkver:
	@v='$(EXTVERSION)'; \
	m=$$(sed -n '/"meta-spec"/,/}/d; s/.*"version": *"\([^"]*\)".*/\1/p' META.json | sort -u); \
	c=$$(sed -n 's/^## \([^ ]*\).*/\1/p' CHANGELOG.md | head -n 1); \
	test "$$m" = "$$v.0" && test "$$c" = "$$v" || \
	{ echo "versions differ: spool.control $$v, META.json $$m, CHANGELOG.md $$c" >&2; exit 1; }

# PGXS does not remove scripts that come from a subdirectory.
.PHONY: uninstall-scripts
uninstall: $(if $(PGXS),uninstall-scripts)
uninstall-scripts:
	rm -f $(addprefix '$(DESTDIR)$(bindir)'/,$(notdir $(SCRIPTS)))
