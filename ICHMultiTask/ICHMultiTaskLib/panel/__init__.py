"""The panel. Files named …_logic and …_state need no Qt and run on slicer-core; sections are widgets that show them."""
