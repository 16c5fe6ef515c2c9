from fileshelf.cli import main

raise SystemExit(main())
