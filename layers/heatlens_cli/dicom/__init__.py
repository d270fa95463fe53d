"""`heatlens dicom`: stand beside a PACS, explain each new image by rules, and store the results in its study."""
