# The site is what the Markdown files of the tree say, linked as they are there: MkDocs sees a copy of the pages, and of
# each file that one of them links to.

.PHONY: docs
docs: $(STAMPS)/docs ## Build the site of docs/ into build/site; a warning, or a link to nothing, is an error.
	@$(BIN)/python tools/docs.py build/site-source
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "make: open build/site/index.html"
